// Buttons that trigger a procedure in Airflow, and the way out of a tab of Airflow.
//
// A button says which DAG, which environments, which parameters are given and which are asked for (lpm.site.triggers).
// Airflow shows this site in a frame that may neither call confirm() nor replace the page around it, and its links with
// target=_top do nothing there. So the question is a dialog of this page, and a link is followed from the page around it.
// Text only ever goes in through textContent.
(() => {
  "use strict"

  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties)
    element.append(...children)
    return element
  }

  function leave(address) {
    if (window.top === window) { window.location.assign(address); return }
    try {
      const outside = window.top.document
      const link = outside.createElement("a")
      link.href = new URL(address, window.location.href).href
      outside.body.append(link)
      link.click()
      link.remove()
    } catch {
      window.open(address, "_blank", "noopener")  // framed by something else than Airflow
    }
  }

  // One question: how it looks, and what its answer is.
  function question(field) {
    const name = `lpm-${field.name}`
    let input
    const options = field.type === "boolean" ? ["true", "false"] : field.choices
    if (options.length) {
      const multiple = field.type === "array"
      input = make("select", { id: name, name, required: true, multiple })
      if (!multiple) input.append(make("option", { value: "", textContent: "choose" }))
      for (const option of options) input.append(make("option", { value: option, textContent: option }))
    } else {
      input = make("input", { id: name, name, required: true, autocomplete: "off" })
      if (["integer", "number"].includes(field.type)) Object.assign(input, { type: "number", step: field.type === "integer" ? "1" : "any" })
    }
    const answer = () => {
      if (field.type === "array") {
        const values = options.length ? Array.from(input.selectedOptions, option => option.value) : input.value.split(/[\s,]+/)
        return values.filter(Boolean)
      }
      if (field.type === "boolean") return input.value === "true"
      if (["integer", "number"].includes(field.type)) return Number(input.value)
      return input.value
    }
    const hint = field.type === "array" && !options.length ? " Several: comma between." : ""
    return { name: field.name, answer, element: make("label", { htmlFor: name }, make("strong", { textContent: field.name }), ` ${field.label}${hint}`, input) }
  }

  const trouble = {
    400: "Airflow does not take these values.",
    401: "You are not logged in to Airflow. Open Airflow in this browser, log in, and come back. Or paste the JSON into the DAG's trigger form.",
    403: "Your login may not trigger this DAG. Ask somebody whose role may: the escalation page says whom.",
    404: "There is no such DAG here. Open Airflow itself, find the DAG, and paste the JSON into its trigger form.",
    409: "Such a run exists already. Look at the runs of the DAG.",
    422: "Airflow does not take these values.",
  }

  class Refused extends Error {}

  // Airflow's answer, or the reason in words why there is none.
  async function call(path, body) {
    let answer
    try {
      answer = await fetch(`/api/v2/dags/${path}`, {
        method: body ? "POST" : "GET",
        credentials: "same-origin",
        headers: { Accept: "application/json", "Content-Type": "application/json" },
        body: body ? JSON.stringify(body) : undefined,
      })
    } catch {
      throw new Refused("This page was not opened through Airflow, so it cannot reach it. Open Airflow, find the DAG, press Trigger, and paste the JSON.")
    }
    const text = await answer.text()
    let content = {}
    try { content = JSON.parse(text) } catch { if (answer.ok) answer = { ok: false, status: 404 } }  // some other server's page
    if (answer.ok) return content
    const detail = typeof content.detail === "string" ? ` Airflow says: ${content.detail}` : ""
    throw new Refused(`${trouble[answer.status] ?? `Airflow answered ${answer.status}. Open Airflow and trigger the DAG there, with the JSON.`}${detail}`)
  }

  function open(button) {
    const { dag, environments, conf, ask } = button.dataset
    const questions = JSON.parse(ask).map(question)
    const names = environments.split(" ")
    const where = question({ name: "environment", label: "Where?", type: "string", choices: names })
    if (names.length === 1) where.element.querySelector("select").value = names[0]
    const heading = make("h2", { id: "lpm-dialog-title", textContent: `Trigger ${dag}` })
    const say = make("p", { className: "lpm-say" })
    say.setAttribute("role", "status")
    const fields = make("fieldset", {}, where.element, ...questions.map(one => one.element))
    const next = make("button", { type: "submit", className: "md-button md-button--primary", textContent: "Continue" })
    const cancel = make("button", { type: "button", className: "md-button", textContent: "Cancel" })
    const form = make("form", {}, heading, fields, say, next, " ", cancel)
    const dialog = make("dialog", { className: "lpm-dialog md-typeset" }, form)
    dialog.setAttribute("aria-labelledby", heading.id)
    let wanted = null  // what was asked for and is only to be confirmed

    const close = () => { dialog.close(); dialog.remove(); button.focus() }
    cancel.addEventListener("click", close)
    dialog.addEventListener("cancel", event => { event.preventDefault(); close() })
    form.addEventListener("submit", async event => {
      event.preventDefault()
      next.disabled = true
      try {
        if (wanted === null) {
          const id = `${dag}__${where.answer()}`
          const given = { ...JSON.parse(conf), ...Object.fromEntries(questions.map(one => [one.name, one.answer()])) }
          say.textContent = "Asking Airflow …"
          const { is_paused: paused } = await call(encodeURIComponent(id))
          const waits = paused ? " The DAG is paused: the run waits until somebody unpauses it." : ""
          say.textContent = `This starts ${id} with ${JSON.stringify(given)}.${waits}`
          next.textContent = `Start ${id}`
          fields.disabled = true
          wanted = { id, given }
        } else {
          say.textContent = "Starting …"
          const run = await call(`${encodeURIComponent(wanted.id)}/dagRuns`, { logical_date: null, conf: wanted.given })
          say.textContent = `Started: ${run.dag_run_id}`
          leave(`/dags/${encodeURIComponent(wanted.id)}/runs/${encodeURIComponent(run.dag_run_id)}`)
        }
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        say.textContent = `Nothing was started. ${error.message}`
        next.textContent = "Continue"
        fields.disabled = false
        wanted = null
      } finally {
        next.disabled = false
      }
    })
    document.body.append(dialog)
    dialog.showModal()
  }

  document.addEventListener("click", event => {
    const button = event.target.closest("button.lpm-trigger")
    if (button) { open(button); return }
    const link = event.target.closest("a[target=_top]")
    if (link && window.top !== window) { event.preventDefault(); leave(link.getAttribute("href")) }
  })
})()
