// The status panel on Airflow's home page. Airflow provides React; what is shown is that of the site's home page.
import "./live-status.js"

const site = new URL("../", import.meta.url)
const { createElement, useEffect, useRef } = globalThis.React

const LpmStatus = () => {
  const place = useRef(null)
  useEffect(() => {
    let stop = () => {}
    let gone = false
    const begin = async () => {
      const answer = await fetch(new URL("status/index.json", site), { cache: "no-store" })
      const { environments } = await answer.json()
      if (!gone) stop = globalThis.lpmLiveStatus.show(place.current, environments, site)
    }
    begin().catch(error => {
      if (place.current) place.current.textContent = `The status of the pipeline cannot be shown: ${error.message}`
    })
    return () => { gone = true; stop() }
  }, [])
  const link = createElement("a", { href: new URL("./", site).href, style: { textDecoration: "underline" } }, "Runbooks")
  const heading = createElement("h2", { style: { fontSize: "1.2em", fontWeight: 600, margin: "0 0 .6em" } }, "EDG → LPM streaming: ", link)
  return createElement("section", { className: "lpm-panel", "aria-label": "EDG → LPM streaming" }, heading, createElement("div", { ref: place }))
}

globalThis.LpmStatus = globalThis.AirflowPlugin = LpmStatus
