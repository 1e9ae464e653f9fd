// What the pipeline does now, on the home page of the site and on the home page of Airflow.
//
// Reads status.json of each environment, which the monitor and the reconciliation write (lpm.procedures.status): the
// verdicts in it are finished, this only shows them and how old they are. What is null there is "not known" here, never
// 0. Names may hold anything, so text only ever goes in through textContent.
//
// A plain script and a module at once: it exports nothing and leaves globalThis.lpmLiveStatus.
(() => {
  "use strict"

  const EVERY_MS = 60_000
  const UNKNOWN = "not known"
  const STYLE = `
    .lpm-live { margin: 0 0 1.5em; }
    .lpm-live h3 { margin: 0 0 .3em; font-weight: 600; }
    .lpm-live p { margin: .3em 0; }
    .lpm-live .lpm-bad > *, .lpm-live .lpm-late { font-weight: 700; }
    .lpm-live .lpm-late { border-left: .3em solid #c62828; padding-left: .5em; }
    .lpm-live .lpm-scroll { overflow-x: auto; }
    .lpm-live table { border-collapse: collapse; width: 100%; display: table; font-size: .85em; }
    .lpm-live caption { text-align: left; font-weight: 600; padding: .6em 0 .2em; }
    .lpm-live th, .lpm-live td { text-align: left; padding: .25em .7em .25em 0; border-bottom: 1px solid rgb(128 128 128 / 35%); vertical-align: top; }
    .lpm-live a { text-decoration: underline; }
    .lpm-live svg { width: 100%; max-width: 52rem; height: auto; display: block; }
    .lpm-live svg text { fill: currentColor; font: 11px sans-serif; }
    .lpm-live svg path { fill: none; stroke: currentColor; stroke-width: 1.6; }
    .lpm-live svg .lpm-axis { stroke-width: .6; opacity: .6; }`
  // Told apart by their dashes too, not only by their colour.
  const LINES = [
    { key: "latency_p95_seconds", name: "latency p95, slowest company", colour: "#1e88e5", dash: "" },
    { key: "watermark_age_seconds", name: "watermark age, oldest company", colour: "#d81b60", dash: "6 3" },
    { key: "source_lag_seconds", name: "lag of the stream", colour: "#2e7d32", dash: "2 3" },
  ]
  const RUNNING = { true: "running", false: "STOPPED" }

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties)
    element.append(...children)
    return element
  }
  const draw = (tag, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag)
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
    element.append(...children)
    return element
  }

  const isKnown = value => value !== null && value !== undefined
  const count = value => isKnown(value) ? Number(value).toLocaleString("en") : UNKNOWN

  function seconds(value) {
    if (!isKnown(value)) return UNKNOWN
    if (value < 10) return `${Math.round(value * 10) / 10} s`
    if (value < 120) return `${Math.round(value)} s`
    if (value < 7_200) return `${Math.round(value / 60)} min`
    if (value < 172_800) return `${Math.round(value / 3_600)} h`
    return `${Math.round(value / 86_400)} days`
  }

  // "2026-11-24 12:05", always UTC, as everywhere in the product.
  const moment = text => isKnown(text) ? new Date(text).toISOString().slice(0, 16).replace("T", " ") : UNKNOWN
  const hour = text => new Date(text).toISOString().slice(5, 16).replace("T", " ")

  function verdict(verified) {
    if (!verified) return { text: UNKNOWN, bad: false }
    const wrong = Object.entries(verified.differences ?? {}).filter(([, keys]) => keys).map(([name, keys]) => `${count(keys)} ${name}`)
    const words = { pass: "equal", differ: "DIFFERS", skipped: "skipped, not compared", error: "ERROR, not compared" }
    const text = `${words[verified.verdict] ?? verified.verdict}, ${moment(verified.at)}${wrong.length ? ` (${wrong.join(", ")})` : ""}`
    return { text, bad: verified.verdict !== "pass" }
  }

  function proven(verified) {
    if (!verified) return UNKNOWN
    if (!isKnown(verified.verified_through)) return "never yet"
    return `version ${count(verified.verified_through)}, ${moment(verified.verified_at)}`
  }

  function table(caption, header, rows) {
    const head = make("tr", {}, ...header.map(text => make("th", { scope: "col", textContent: text })))
    const body = rows.map(({ cells, bad }) => make("tr", { className: bad ? "lpm-bad" : "" }, ...cells.map((cell, index) => {
      const element = index ? make("td") : make("th", { scope: "row" })
      if (cell instanceof Node) element.append(cell)
      else element.textContent = cell
      return element
    })))
    const whole = make("table", { className: "lpm-table" }, make("caption", { textContent: caption }), make("thead", {}, head), make("tbody", {}, ...body))
    const scroll = make("div", { className: "lpm-scroll", tabIndex: 0 }, whole)
    scroll.setAttribute("role", "region")
    scroll.setAttribute("aria-label", caption)
    return scroll
  }

  function companies(status) {
    const rows = status.companies.map(company => {
      const found = verdict(company.verified)
      return {
        bad: found.bad,
        cells: [
          company.name && company.name !== company.id ? `${company.id} (${company.name})` : company.id, company.shard,
          seconds(company.now.watermark_age_seconds), seconds(company.now.latency_p50_seconds), seconds(company.now.latency_p95_seconds),
          found.text, proven(company.verified),
        ],
      }
    })
    return table("Companies", ["Company", "Shard", "Watermark age", "Latency p50", "Latency p95", "Last comparison (UTC)", "Proven equal through"], rows)
  }

  function parts(status) {
    const stream = status.stream
    const lines = [{
      bad: stream.running === false,
      cells: ["stream job", RUNNING[stream.running] ?? UNKNOWN, `lag ${seconds(stream.lag_seconds)}`, `source ${count(stream.source_version)}, sent ${count(stream.sent_version)}`],
    }]
    for (const [name, shard] of Object.entries(status.shards)) lines.push({
      bad: shard.running === false,
      cells: [`router of ${name}`, RUNNING[shard.running] ?? UNKNOWN, `delay ${seconds(shard.delay_seconds)}`, `waiting events ${count(shard.backlog_events)}`],
    })
    return table("Stream and routers", ["Part", "State", "Behind", "Position"], lines)
  }

  function alerts(status, base) {
    if (!status.alerts.length) return make("p", { textContent: "No open alerts." })
    const rows = status.alerts.map(alert => {
      const page = /^runbooks\/[\w-]+\.md$/.test(alert.runbook) ? make("a", { href: new URL(alert.runbook.replace(/\.md$/, ".html"), base).href, textContent: alert.title }) : alert.title
      const after = alert.acknowledged_by ? `${alert.acknowledged_by}, until ${moment(alert.acknowledged_until)}` : "nobody yet"
      return {
        bad: alert.severity === "critical",
        cells: [page, alert.severity, `${alert.subject.kind} ${alert.subject.name}`, `${count(alert.value)} ${alert.unit}`.trim(), moment(alert.since), after],
      }
    })
    return table(`Open alerts (${rows.length})`, ["Alert and runbook", "Severity", "About", "Value", "Since (UTC)", "Looked after by"], rows)
  }

  // The worst of each hour. A gap in a line is an hour of which it is not known.
  function trend(status) {
    const hours = status.trend.map(one => ({ ...one, at: Date.parse(one.hour) }))
    const values = hours.flatMap(one => LINES.map(line => one[line.key])).filter(isKnown)
    if (!values.length) return make("p", { textContent: "No trend is known yet." })
    const [width, height, left, bottom, top] = [720, 190, 58, 20, 22]
    const [first, last] = [hours[0].at, Math.max(hours.at(-1).at, hours[0].at + 3_600_000)]
    const most = Math.max(...values, 1)
    const x = at => left + (at - first) / (last - first) * (width - left - 10)
    const y = value => height - bottom - value / most * (height - bottom - top)
    const label = (text, across, down, anchor) => {
      const element = draw("text", { x: across, y: down, "text-anchor": anchor })
      element.textContent = text
      return element
    }
    const title = draw("title", {})
    title.textContent = `Worst of each hour (UTC) from ${hour(hours[0].hour)} to ${hour(hours.at(-1).hour)}. ` + LINES.map(line => {
      const known = hours.map(one => one[line.key]).filter(isKnown)
      return `${line.name}: ${known.length ? `highest ${seconds(Math.max(...known))}, last ${seconds(hours.at(-1)[line.key])}` : UNKNOWN}`
    }).join(". ")
    const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "lpm-trend", "aria-label": title.textContent }, title,
      draw("path", { class: "lpm-axis", d: `M${left} ${top} V${height - bottom} H${width - 10}` }),
      label(seconds(most), left - 6, top + 4, "end"), label("0 s", left - 6, height - bottom, "end"),
      label(hour(hours[0].hour), left, height - 4, "start"), label(hour(hours.at(-1).hour), width - 10, height - 4, "end"))
    LINES.forEach((line, index) => {
      let path = "", pen = false, before = 0
      for (const one of hours) {
        const value = one[line.key]
        if (!isKnown(value)) { pen = false; continue }
        const joined = pen && one.at - before <= 3_600_000
        path += `${joined ? "L" : "M"}${x(one.at).toFixed(1)} ${y(value).toFixed(1)} ${joined ? "" : "h0.01 "}`
        pen = true
        before = one.at
      }
      const across = left + 6 + index * 215
      const style = `stroke:${line.colour};stroke-dasharray:${line.dash || "none"};stroke-linecap:round`
      picture.append(draw("path", { d: path, style, class: "lpm-line" }), draw("path", { d: `M${across} 9 h22`, style }), label(line.name, across + 28, 13, "start"))
    })
    return picture
  }

  class Unreadable extends Error {}

  const reasons = {
    401: "you are not logged in to Airflow. Log in, then load this page again",
    403: "your login may not read it",
    404: "nothing was written yet. Trigger monitor in Airflow; where it runs by itself, see that it is not paused",
    503: "the evidence store cannot be reached",
  }

  async function read(address) {
    let answer
    try {
      answer = await fetch(address, { cache: "no-store", credentials: "same-origin" })
    } catch {
      throw new Unreadable("this page was not opened through Airflow, or Airflow cannot be reached")
    }
    if (!answer.ok) throw new Unreadable(reasons[answer.status] ?? `Airflow answered ${answer.status}`)
    try {
      const now = Date.parse(answer.headers.get("Date") ?? "") || Date.now()  // the clock of the reader may be wrong
      return { status: await answer.json(), now }
    } catch {
      throw new Unreadable("what Airflow answered is no status")
    }
  }

  // How old it is, in words. When it is late says the document, by the schedule of the monitor.
  function age(status, now) {
    if (!status.looked_at) return { text: "LATE: the monitor has never looked. Trigger monitor in Airflow.", late: true }
    const old = Math.max(0, (now - Date.parse(status.looked_at)) / 1_000)
    const late = isKnown(status.late_at) && now > Date.parse(status.late_at)
    return late
      ? { text: `LATE: written ${seconds(old)} ago, and nobody is watching since. What follows is old.`, late }
      : { text: `Written ${seconds(old)} ago.`, late }
  }

  function panel(name, base) {
    const state = make("p", { className: "lpm-state", textContent: "Reading …" })
    state.setAttribute("role", "status")
    state.setAttribute("aria-live", "polite")
    const content = make("div", { className: "lpm-content" })
    const section = make("section", { className: "lpm-live" }, make("h3", { textContent: name }), state, content)
    section.dataset.environment = name
    section.setAttribute("aria-label", `Live status of ${name}`)
    let shown = null
    const say = ({ text, late }) => {
      if (state.textContent !== text) state.textContent = text  // else a screen reader says the same again
      state.classList.toggle("lpm-late", late)
    }
    const refresh = async () => {
      try {
        const { status, now } = await read(new URL(`status/${encodeURIComponent(name)}.json`, base))
        let filled
        try {
          filled = [alerts(status, base), companies(status), parts(status), trend(status)]
        } catch {
          throw new Unreadable("this page does not know what it holds; load the page again")
        }
        content.replaceChildren(...filled)
        shown = moment(new Date(now))
        say(age(status, now))
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error
        say({ text: `No live data: ${error.message}.${shown ? ` What follows was read at ${shown} UTC.` : ""}`, late: true })
      }
    }
    return { section, refresh }
  }

  // Fill an element with the status of some environments, and keep it fresh until the returned function is called.
  function show(element, environments, base) {
    if (!document.getElementById("lpm-live-style")) document.head.append(make("style", { id: "lpm-live-style", textContent: STYLE }))
    const panels = environments.map(name => panel(name, base))
    element.replaceChildren(...panels.map(one => one.section))
    const tick = () => panels.forEach(one => one.refresh())
    tick()
    const timer = setInterval(tick, EVERY_MS)
    return () => clearInterval(timer)
  }

  globalThis.lpmLiveStatus = { show }

  const script = document.currentScript  // null in a module: there, whoever imported it calls show()
  if (!script) return
  const base = new URL("../", script.src)
  const start = () => {
    const element = document.getElementById("live")
    if (element) show(element, element.dataset.environments.split(/\s+/).filter(Boolean), base)
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start)
  else start()
})()
