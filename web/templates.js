/**
 * The pack's workflows in the template browser: those to begin with come first. (The host shows no
 * description of a pack's workflow, only its name; what each is says its note.)
 */
import { api } from "../../scripts/api.js";

const FIRST = ["demo_auto", "demo_compare", "demo_"];
const PACK = decodeURIComponent(new URL(import.meta.url).pathname.match(/extensions\/([^/]+)\//)[1]);

const place = (name) => FIRST.concat("").findIndex((start) => name.startsWith(start));

/** The host lists them in the order in which its disk does. */
export function orderTemplates() {
    const { getWorkflowTemplates } = api;
    api.getWorkflowTemplates = async function (...given) {
        const found = await getWorkflowTemplates.apply(this, given);
        found?.[PACK]?.sort((one, other) => place(one) - place(other) || one.localeCompare(other));
        return found;
    };
}
