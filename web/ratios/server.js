/** Questions to the server (nodes/routes.py). */
import { api } from "../../../scripts/api.js";
import { t } from "../words.js";

/** The modules of a ToCa Cache's model, by {node, system, workflow}; null where the server does not answer. */
export async function describe(place, signal) {
    const response = await api.fetchApi(`/toca/model?${new URLSearchParams(place)}`, { signal });
    return response.ok ? response.json() : null;
}

/** What a run would cost, or { error }. */
export async function predict(question, signal) {
    const headers = { "Content-Type": "application/json" };
    const response = await api.fetchApi("/toca/predict", { method: "POST", headers, body: JSON.stringify(question), signal });
    return response.ok || response.status === 400 ? response.json() : { error: t("server.status", { status: response.status }) };
}

/** Runs `ask(signal)` at most every `wait` milliseconds, and `tell(answer)` unless something newer was asked meanwhile. */
export class Latest {
    constructor(ask, tell, wait = 80) {
        Object.assign(this, { ask, tell, wait, timer: null, current: null });
    }

    request() {
        this.timer ??= setTimeout(() => this.send(), this.wait);
    }

    async send() {
        this.cancel();
        const current = (this.current = new AbortController());
        try {
            const answer = await this.ask(current.signal);
            if (!current.signal.aborted) this.tell(answer);
        } catch (error) {
            if (!current.signal.aborted) this.tell({ error: t("server.gone", { message: error.message }) });
        }
    }

    cancel() {
        clearTimeout(this.timer);
        this.timer = null;
        this.current?.abort();
    }
}
