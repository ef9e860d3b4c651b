/** What the server says in sentences comes in English; of what is common there is another language. */
import { t } from "./words.js";

export const ended = (words) => (/[.!?\u3002]$/.test(words) ? words : words + t("sentence.end"));

const KNOWN = [
    [/^No step could be skipped: the first (\d+) and the last are full.*$/, (_, first) => t("note.idle", { first })],
    [/^No step could be skipped, since the run ended with its first step$/, () => t("note.one")],
    [/^Stopped early by (\w+)$/, (_, name) => t("note.stopped", { name })],
    [/^Every step is full: fresh_ratio or cycle is 1 or tolerance 0, so nothing is cached$/, () => t("note.full")],
    [/^The tolerance of ([\d.e-]+) was not used, since level is (\w+); choose stack or output$/,
        (_, tolerance) => t("note.tolerance", { tolerance })],
    [/^The connected ratios were not used, since preset is (.+); choose custom$/, (_, preset) => t("note.ratios", { preset })],
    [/^Nothing was published for (.+): the settings are those of auto$/, () => t("note.unpublished")],
    [/^This machine has no preset (.+): its settings came with the workflow$/, (_, name) => t("note.travelled", { name })],
    [/^This machine's preset (.+) has other settings: those of the workflow were used; choose the preset anew for this machine's$/,
        (_, name) => t("note.differs", { name })],
    [/^The ratios by block were not used, since level is (\w+); choose module$/, (_, level) => t("note.level", { level })],
    [/^(\S+): (\d+) ratios were resampled to (\d+) blocks$/, (_, name, given, blocks) => t("note.resampled", { name, given, blocks })],
    [/^The ratios of (.+) were left out, since this model has no such modules$/, (_, name) => t("note.leftOut", { name })],
    [/^The ratios of (.+) were taken for (.+)$/, (_, name, other) => t("note.taken", { name, other })],
    [/^level is (\w+), which this model cannot be cached at: (\w+) is used$/, (_, level, other) => t("note.otherLevel", { level, other })],
    [/^each attention and MLP is known$/, () => t("why.module")],
    [/^its blocks are known$/, () => t("why.stack")],
    [/^its blocks are looked for in its first call$/, () => t("why.looked")],
    [/^its blocks are not known, or no one residual stands for them$/, () => t("why.unknown")],
    [/^it keeps closer than level stack$/, () => t("why.closer")],
    [/^as set, or for want of memory$/, () => t("why.set")],
    [/^The cost appears once ToCa Cache has run with a model$/, () => t("cost.unknown")],
    [/^Which steps are full follows from the error measured, so the cost depends on the picture$/, () => t("cost.depends")],
    [/^Nothing is known of what this model's parts cost$/, () => t("cost.parts")],
    [/^The tokens of the mask come on top$/, () => t("cost.mask")],
    [/^as in the last run$/, () => t("cost.last")],
];

/** A remark of the server, sentence by sentence. */
export function sentences(note) {
    return String(note ?? "").split(/\. (?=[A-Z])/).map((sentence) => {
        const bare = sentence.replace(/\.$/, "");
        const found = KNOWN.find(([pattern]) => pattern.test(bare));
        return found ? bare.replace(...found) : sentence;
    }).map((sentence, index, all) => (all.length > 1 ? ended(sentence) : sentence)).join(" ");
}

