/** About: versions, devices, disk, and that nothing leaves this machine. */

import { get } from "../api.ts";
import { h } from "../dom.ts";
import type { Page } from "../route.ts";

interface Doctor {
  rows: { name: string; value: string; status: string }[];
}

const marks: Record<string, string> = { ok: "fine", warning: "look at this", error: "missing" };

export const about: Page = async (root, { session }) => {
  const doctor = await get<Doctor>("/api/doctor");
  root.append(
    h("h1", {}, "About"),
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { class: "panel" },
        h("h2", {}, `semiseg ${session.version}`),
        h("p", {}, `${sentence(session.offline)}. These pages come from this server alone, and they load nothing from elsewhere.`),
        h("p", {}, "For research; not a medical device."),
        facts([
          ["Dataset", session.dataset.name],
          ["Folder", session.dataset.root],
          ["Channels", session.dataset.channels.join(", ")],
          ["Classes", session.dataset.labels.map((l) => `${l.value} ${l.name}`).join(", ")],
        ]),
        h("p", {}, h("a", { href: "/static/NOTICE.txt", target: "_blank", rel: "noopener" }, "Licenses of the packages in these pages")),
      ),
      h(
        "section",
        { class: "panel" },
        h("h2", {}, "This machine"),
        h(
          "table",
          { class: "facts" },
          h("tbody", {}, doctor.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name), h("td", {}, row.value), h("td", { class: `status ${row.status}` }, marks[row.status] ?? row.status)))),
        ),
      ),
    ),
  );
  return () => {};
};

function sentence(text: string): string {
  return (text.charAt(0).toUpperCase() + text.slice(1)).replace(/\.$/, "");
}

export function facts(rows: readonly (readonly [string, string])[]): HTMLElement {
  return h("table", { class: "facts" }, h("tbody", {}, rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)))));
}
