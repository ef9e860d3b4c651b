"""The picture of ToCa Report: for each sampling run a timeline, its errors, and the share of fresh tokens by block and module."""

import math

from .canvas import FAINT, INK, KINDS, fitting, font, paper, ramp, scale, wrapped

WIDTH, MARGIN, TEXT, SMALL = 840, 24, 24, 20
BARS, ROW = 150, 34                 # heights in pixels


def draw_runs(named, words: bool = True):
    """[(title, RunReport)] -> one picture, run under run; without the words where those stand beside it."""
    panels = [Panel(title, report, words).draw() for title, report in named]
    sheet, _ = paper(WIDTH, sum(panel.height for panel in panels))
    top = 0
    for panel in panels:
        sheet.paste(panel, (0, top))
        top += panel.height
    return sheet


def draw_sentence(sentence: str):
    lines = wrapped(sentence, TEXT, WIDTH - 2 * MARGIN)
    sheet, draw = paper(WIDTH, 2 * MARGIN + ROW * len(lines))
    for index, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + ROW * index), line, INK, font(TEXT))
    return sheet


class Panel:
    """One run, drawn from top to bottom."""

    def __init__(self, title: str, report, words: bool):
        self.title, self.report, self.words, self.top = title, report, words, MARGIN
        self.image, self.to = paper(WIDTH, 4000)
        self.left, self.right = MARGIN, WIDTH - MARGIN

    def draw(self):
        self.line(self.title, 30)
        for line in self.report.lines() if self.words else ():
            for part in wrapped(line, SMALL, self.right - self.left):
                self.line(part, SMALL)
        self.timeline()
        self.heat_map()
        return self.image.crop((0, 0, WIDTH, self.top + MARGIN))

    def line(self, text: str, size: int, colour=INK):
        self.to.text((self.left, self.top), text, colour, font(fitting(text, size, self.right - self.left)))
        self.top += round(size * 1.4)

    def timeline(self):
        """A bar for each step, as high as its share of fresh tokens; dots are measured errors, on a scale of their own."""
        steps = self.report.steps
        if not steps:
            return
        self.legend()
        base, wide = self.top + BARS, (self.right - self.left) / len(steps)
        self.to.line((self.left, base, self.right, base), FAINT, 2)
        for step in steps:
            x, gap = self.left + wide * step.index, min(3, wide / 5)
            height = BARS * max(work_of(step), 0.08)
            self.to.rectangle((x + gap / 2, base - height, x + wide - gap / 2, base), KINDS[step.kind])
        most = max(self.report.errors, default=0)
        dots = [(self.left + wide * (step.index + 0.5), base - BARS * step.error / most)
                for step in steps if step.error is not None and math.isfinite(step.error) and most]
        self.to.line(dots, INK, 2)
        for x, y in dots:
            self.to.ellipse((x - 5, y - 5, x + 5, y + 5), INK, (255, 255, 255))
        for index in {0, len(steps) // 2, len(steps) - 1}:
            x = self.left + wide * (index + 0.5)
            self.to.text((min(max(x, self.left + 8), self.right - 8), base + 6), str(index + 1), INK, font(SMALL), anchor="ma")
        self.top = base + 6 + round(SMALL * 1.6)

    def legend(self):
        """What the colours mean, and how high the highest dot is."""
        self.top += 8
        x, errors = self.left, self.report.errors
        for kind, colour in KINDS.items():
            if not self.report.calls(kind):
                continue
            self.to.rectangle((x, self.top + 3, x + 18, self.top + 21), colour)
            text = f"{self.report.calls(kind)} {kind}"
            self.to.text((x + 26, self.top), text, INK, font(SMALL))
            x += round(26 + font(SMALL).getlength(text) + 24)
        if errors:
            self.to.ellipse((x + 3, self.top + 7, x + 13, self.top + 17), INK)
            self.to.text((x + 22, self.top), f"error, up to {max(errors):.2g}%", INK, font(SMALL))
        self.top += round(SMALL * 1.8)

    def heat_map(self):
        """Modules down, blocks across; the mean over partial steps."""
        shares = self.report.fresh_by_block()
        if not shares:
            return
        self.line("fresh share on partial steps, by block", SMALL)
        names = max(font(SMALL).getlength(name) for name in shares) + 14
        low, high = (pick(map(pick, shares.values())) for pick in (min, max))
        for name, blocks in shares.items():
            self.to.text((self.left, self.top + ROW // 2), name, INK, font(SMALL), anchor="lm")
            wide = (self.right - self.left - names) / len(blocks)
            for index, share in enumerate(blocks):
                colour = tuple(ramp((share - low) / (high - low) if high > low else 0.5).tolist())
                x = self.left + names + wide * index
                self.to.rectangle((x, self.top + 2, x + wide - 2, self.top + ROW - 2), colour)
            self.top += ROW
        if high > low:
            scale(self.image, self.to, (self.left, self.top + 10, self.right, self.top + 30), f"{low:.0%}", f"{high:.0%}", SMALL)
        else:
            self.to.text((self.left, self.top + 8), f"{low:.0%} everywhere", INK, font(SMALL))
        self.top += 40


def work_of(step) -> float:
    """The share of its tokens that a step computed."""
    if step.kind != "partial":
        return 1.0
    return sum(step.fresh_share.values()) / len(step.fresh_share) if step.fresh_share else 0.0
