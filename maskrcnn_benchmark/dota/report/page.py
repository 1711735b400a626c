"""A report as one HTML page: no script, nothing to load, readable on a telephone."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from maskrcnn_benchmark.dota.errors import (
    EVERY_FALSE,
    EVERY_UNFOUND,
    KINDS,
    MISSED,
    MISSED_IS,
)
from maskrcnn_benchmark.dota.overlaps import LEAST_IOU
from maskrcnn_benchmark.dota.report.charts import bar_rows, curve_chart, matrix_html, table_html
from maskrcnn_benchmark.dota.report.pictures import SIDE, STATES, UNFOUND, Picture
from maskrcnn_benchmark.dota.report.style import PAGE
from maskrcnn_benchmark.dota.strata import CROWD_RADIUS
from maskrcnn_benchmark.images.drawing import class_color
from maskrcnn_benchmark.images.image_io import jpeg_data_uri

BLUE = "#3566b0"
STRATA = {
    "size": (
        "By size",
        "The square root of the object's area in pixels (task 2: of its upright box).",
    ),
    "crowd": (
        "By crowd",
        f"How many other labelled objects have their centre within {CROWD_RADIUS} px.",
    ),
    "seam": (
        "By distance to a tile's seam",
        "How far the upright box is from the nearest border of a tile inside the image.",
    ),
}


@dataclass(frozen=True)
class Notes:
    """What a report says beside its figures.

    Attributes:
        title: of the page.
        no_seams: why there is nothing about seams; None where there is.
        no_pictures: why there are no pictures; None where there are.
    """

    title: str
    no_seams: str | None
    no_pictures: str | None


def report_page(figures: dict, pictures: Sequence[tuple[dict, Picture]], notes: Notes) -> str:
    """Write a report's page.

    Args:
        figures: of `report_figures`.
        pictures: images of `figures["worst_images"]`, each with its picture.
        notes: what else to say.
    """
    task = {1: "Task 1 (oriented boxes)", 2: "Task 2 (upright boxes)"}[figures["task"]]
    facts = (
        f"{task}. {figures['images']} images, {figures['objects']} objects to find"
        f" ({figures['difficult']} difficult ones count for nothing), {figures['detections']}"
        f" detections. Unless said otherwise: AP by {figures['metric']} at IoU above"
        f" {figures['iou']:g}."
    )
    sections = {
        "Average precision": _precision_table(figures),
        "What mending would bring": _errors(figures, notes),
        "Precision over recall": _curves(figures),
        "Confusions": _confusions(figures),
        **{title: body for title, body in _strata(figures, notes)},
        "The worst images": _pictures(figures, pictures, notes),
        "Definitions": _definitions(figures),
    }
    numbered = list(enumerate(sections.items(), start=1))
    return Template(PAGE).substitute(
        title=escape(notes.title),
        facts=escape(facts),
        score=_ap(figures["mAP"]),
        links="".join(f'<a href="#s{n}">{escape(title)}</a>' for n, (title, _) in numbered),
        sections="".join(
            f'<section id="s{n}"><h2>{escape(title)}</h2>{body}</section>'
            for n, (title, body) in numbered
        ),
    )


def _precision_table(figures: dict) -> str:
    columns = figures["ap"]
    rows = []
    for name, counts in figures["classes"].items():
        best = figures["curves"].get(name, {}).get("best")
        rows.append(
            [
                name,
                *(_ap(column["classes"][name]) for column in columns.values()),
                str(counts["npos"]),
                str(counts["tp"]),
                str(counts["ndet"]),
                f"{best['f1']:.2f} at {best['score']:.2f}" if best else "–",
            ]
        )
    head = ["class", *columns, "objects", "found", "detections", "best F1 at score"]
    foot = ["mAP", *(_ap(column["mAP"]) for column in columns.values())]
    foot += [str(figures["objects"]), str(sum(c["tp"] for c in figures["classes"].values()))]
    return table_html(head, rows, [*foot, str(figures["detections"]), ""])


def _errors(figures: dict, notes: Notes) -> str:
    errors = figures["errors"]
    largest = max([entry["gain"] or 0 for entry in errors.values()] + [1e-9])
    kinds = [kind for kind in (*KINDS, MISSED) if kind in errors]

    def bars(names: Sequence[str]) -> str:
        return bar_rows(
            [
                (
                    name,
                    f"{_gain(errors[name]['gain'])} mAP, {errors[name]['count']} errors",
                    (errors[name]["gain"] or 0) / largest,
                    _color(name),
                )
                for name in names
            ]
        )

    rows = [
        [name, *(_gain(errors[kind]["classes"][name]["gain"]) for kind in kinds)]
        for name in figures["classes"]
    ]
    counts = [
        [name, *(str(errors[kind]["classes"][name]["count"]) for kind in kinds)]
        for name in figures["classes"]
    ]
    seams = _seams_known(figures)
    if notes.no_seams:
        seams = f"<p>No errors at seams are told apart: {escape(notes.no_seams)}</p>"
    return (
        "<p>What the mAP would gain if the errors of one kind alone were mended. The gains do not"
        " add up.</p>"
        f"{bars(kinds)}{seams}<h3>Taken together</h3>"
        f"{bars((EVERY_FALSE, EVERY_UNFOUND))}"
        f"<details><summary>Gain of AP per class</summary>{table_html(['class', *kinds], rows)}"
        "</details><details><summary>Errors per class</summary>"
        f"{table_html(['class', *kinds], counts)}</details>"
    )


def _seams_known(figures: dict) -> str:
    """Return how many images' tiles are not known, where they are of some."""
    if not figures["images_without_tiles"]:
        return ""
    return (
        f"<p>Seams are known in all images but {figures['images_without_tiles']} of"
        f" {figures['images']}.</p>"
    )


def _curves(figures: dict) -> str:
    column = figures["ap"][f"{figures['metric']}@{figures['iou']:g}"]["classes"]
    cells = [
        f"<figure><figcaption>{escape(name)} <b>{_ap(column[name])}</b></figcaption>"
        f"{curve_chart(curve['recall'], curve['precision'])}</figure>"
        for name, curve in figures["curves"].items()
    ]
    return (
        f'<p>Recall to the right, precision upwards.</p><div class="curves">{"".join(cells)}</div>'
    )


def _confusions(figures: dict) -> str:
    names, matrix = figures["confusion"]["classes"], figures["confusion"]["matrix"]
    seen = [
        place
        for place in range(len(names))
        if place == len(names) - 1 or any(matrix[place]) or any(row[place] for row in matrix)
    ]
    part = [[matrix[row][column] for column in seen] for row in seen]
    return (
        f"<p>Detections with a score of {figures['score']:g} or more. A row is what the objects"
        " are, a column what they were found as; each cell is as dark as its share of the row.</p>"
        f"{matrix_html([names[place] for place in seen], part)}"
    )


def _strata(figures: dict, notes: Notes) -> list[tuple[str, str]]:
    """Return titles and bodies of the sections of strata."""
    sections = []
    for key, (title, meaning) in STRATA.items():
        if key not in figures["strata"]:
            body = f"<p>Absent: {escape(notes.no_seams or '')}</p>"
            sections.append((title, body))
            continue
        entries = figures["strata"][key]
        bars = [
            (
                entry["title"],
                f"mAP {_ap(entry['mAP'])}, {entry['found']} of {entry['objects']} found",
                entry["mAP"] or 0,
                BLUE,
            )
            for entry in entries
        ]
        rows = [
            [name, *(_ap(entry["classes"][name]["ap"]) for entry in entries)]
            for name in figures["classes"]
        ]
        table = table_html(["class", *(entry["title"] for entry in entries)], rows)
        body = (
            f"<p>{escape(meaning)}</p>{bar_rows(bars)}"
            f"<details><summary>AP per class</summary>{table}</details>"
        )
        sections.append((title, body))
    return sections


def _pictures(figures: dict, pictures: Sequence[tuple[dict, Picture]], notes: Notes) -> str:
    worst = figures["worst_images"]
    kinds = [kind for kind in KINDS if kind in figures["errors"]]
    head = ["image", "errors", "true", UNFOUND, *kinds]
    rows = [
        [entry["name"], *(str(entry[key]) for key in ("errors", "true", "unfound"))]
        + [str(entry["kinds"][kind]) for kind in kinds]
        for entry in worst[:50]
    ]
    title = f"The {len(rows)} images with the most errors" if len(rows) < len(worst) else "Images"
    table = f"<details><summary>{title}</summary>{table_html(head, rows)}</details>"
    legend = "".join(
        f'<li><i style="background:{_color(state)}"></i>{escape(state)}</li>' for state in STATES
    )
    intro = (
        f"<p>Errors are false positives with a score of {figures['score']:g} or more, and objects"
        f" that no such detection finds. Each picture is the place, {SIDE} px wide, with the most"
        f' of them; labels first, detections second.</p><ul class="legend">{legend}</ul>'
    )
    shown = [_picture(entry, picture) for entry, picture in pictures]
    if notes.no_pictures:
        shown.append(f"<p>{escape(notes.no_pictures)}</p>")
    return intro + "".join(shown) + table


def _picture(entry: dict, picture: Picture) -> str:
    name, window = escape(entry["name"]), picture.window
    place = f"from column {window.x0}, row {window.y0}"
    images = "".join(
        f'<img width="{pixels.shape[1]}" height="{pixels.shape[0]}"'
        f' alt="{what} of {name}" src="{jpeg_data_uri(pixels)}">'
        for what, pixels in (("labels", picture.truth), ("detections", picture.found))
    )
    return (
        f"<h3>{name}</h3><p>{entry['errors']} errors in the image, {entry['true']} true"
        f' detections; {place}.</p><div class="pair">{images}</div>'
    )


def _definitions(figures: dict) -> str:
    meanings = KINDS | {MISSED: MISSED_IS}
    listed = "".join(f"<dt>{kind}</dt><dd>{escape(text)}</dd>" for kind, text in meanings.items())
    return (
        "<p>Detections are taken by falling score, class by class. Each takes the object of its"
        f" class that it overlaps most. If that IoU exceeds t = {figures['iou']:g}, it is a true"
        " positive; a false one, if a better detection has the object; and it counts for nothing,"
        " if the object is difficult. Below t it is a false positive. These are DOTA's rules.</p>"
        "<p>voc07 averages the best precision at the recalls 0, 0.1, …, 1; area is the area under"
        " the curve, made monotone. 0.50:0.95 is the mean over ten thresholds.</p><p>A false"
        f" positive is of the first kind that holds (overlap is IoU; t = {figures['iou']:g}, and"
        f" what overlaps by {LEAST_IOU:g} or less has nothing to do with each other):</p>"
        f'<dl class="meanings">{listed}</dl><p>Mending removes a duplicate, both or background. It'
        " gives a detection of the kinds seam, class, angle and localisation the class and place"
        " of its object; if several then have that object, the best stays and the others are"
        " removed. Missed objects are taken out of those to find. The manner is that of TIDE"
        " (Bolya et al., ECCV 2020); seam and angle are additions.</p><p>Confusions: detections of"
        " all classes are taken by falling score, and each takes the object of any class, not yet"
        " taken, that it overlaps most and by more than t.</p><p>By size, crowd and seam: objects"
        " outside a group count as difficult. False positives that overlap no object of their"
        " class by more than t belong to the group that they would be in as objects. The mean is"
        " over the classes that have objects in the group.</p>"
    )


def _ap(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _gain(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _color(name: str) -> str:
    """Return the CSS colour of a state; a missed object is one that is not found."""
    state = UNFOUND if name == MISSED else name
    if state not in STATES:
        return BLUE
    blue, green, red = class_color(STATES.index(state) + 1)
    return f"rgb({red},{green},{blue})"
