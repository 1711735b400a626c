"""Say what training on FOLDERs (raw or split) will meet under a config, and what of it will hurt.

Tables: the most crowded tiles and the memory in which the original would match them; objects that
the split cuts or loses; how well the config's anchors fit, by class, by size in the resized image,
and by both; labels' faults; images that stand in two of the folders, and such as cannot be decoded
to see that. Places are IMAGE:OBJECT, the first object is 1. Exit status 1 where something will
hurt; each line says what to do.

Pictures: crowded_1.jpg … are the most crowded tiles in the table's order; faults_RULE.jpg shows the
first labels of each fault, in rings, also where they lie off the image; anchors.png is the share of
the objects that have an anchor, by class and by size. --json lists all faulty labels.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.dota.audit import Finding
from maskrcnn_benchmark.dota.shared_images import content_checksums, shared_images
from maskrcnn_benchmark.utils.atomic_write import write_text

UNREADABLE_ADVICE = "replace or delete them: training ends at the first one"
SHARED_ADVICE = "keep each in one set: what was trained on cannot be evaluated on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="draw what was found, into DIR"
    )
    parser.add_argument(
        "--memory",
        type=float,
        default=8,
        metavar="GB",
        help="that matching may take where MODEL.CROWD.MODE is off (8)",
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY value", help="change settings"
    )


def run(args: argparse.Namespace) -> int:
    """Print tables and findings, write the figures; return 1 if there are findings."""
    # PyTorch: not for --help
    from maskrcnn_benchmark.config.settings import load_config
    from maskrcnn_benchmark.data.audit import audit_folder
    from maskrcnn_benchmark.data.audit_pictures import draw_audit

    cfg = load_config(args.config_file, args.opts)
    sets, files, findings = {}, {}, []
    folders = list(dict.fromkeys(args.folders))
    for place, folder in enumerate(folders, start=1):
        figures, found, dataset = audit_folder(cfg, folder, args.memory)
        sets[str(folder)] = figures
        findings += [(str(folder), finding) for finding in found]
        files[str(folder)] = dataset.files
        print(_format(str(folder), figures))
        if args.pictures is not None:
            title = f"{place}_{folder.resolve().name}" if len(folders) > 1 else ""
            pictures = draw_audit(args.pictures / title, figures, dataset)
            print(f"  {args.pictures / title}: {len(pictures)} pictures")
    checksums, unreadable = content_checksums(files)
    finding = Finding("images that cannot be decoded", UNREADABLE_ADVICE)
    for fault in unreadable:
        finding.add(fault)
    if finding.count:
        findings.append(("all", finding))
    shared = shared_images(checksums)
    finding = Finding("images that stand in two sets with the same content", SHARED_ADVICE)
    for group in shared:
        if group["by"] == "content":
            finding.add(" = ".join(group["images"]))
    if finding.count:
        findings.append(("all", finding))
    if named := len(shared) - finding.count:
        print(f"\nnames that two sets use for different images: {named}")
    print("\nWhat will hurt:" if findings else "\nFound nothing that will hurt.")
    for title, finding in findings:
        print(f"  {title}: {finding.describe()}")
    if args.json is not None:
        told = [{"set": title} | asdict(finding) for title, finding in findings]
        figures = {"sets": sets, "shared_images": shared, "findings": told}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    return 1 if findings else 0


def _format(title: str, figures: Mapping[str, Any]) -> str:
    """Lay out one set's figures as text."""
    anchors, objects = figures["anchors"], max(figures["objects"], 1)
    lines = [
        f"{title}: {figures['images']:,} labelled images, {figures['samples']:,} tiles, "
        f"{figures['objects']:,} objects, {figures['difficult'] / objects:.1%} of them difficult",
        f"  whole in no tile: {figures['cut']:,}; lost by the split: {figures['lost']:,}",
        "  most crowded, and the memory in which the original would match:",
    ]
    for entry in figures["crowded"]:
        gigabytes = entry["matching_bytes"] / 1e9
        lines.append(f"    {entry['sample']}: {entry['objects']:,} objects, {gigabytes:.2f} GB")
    rows = anchors["classes"] | anchors["sizes"]
    width = max(map(len, [*rows, "best anchor"]))
    heads = f"IoU >= {anchors['high']:g}  IoU < {anchors['low']:g}"
    lines.append(f"  {'best anchor':{width}}  objects  median IoU  {heads}")
    for name, row in rows.items():
        line = f"  {name:{width}}{row['objects']:9,}{row['median']:12.2f}"
        lines.append(f"{line}{row['matched']:12.1%}{row['poor']:11.1%}")
    lines += _format_recall(anchors)
    faults = ", ".join(f"{rule} {count:,}" for rule, count in figures["faults"].items() if count)
    lines.append(f"  faults of labels: {faults or 'none'}")
    return "\n".join(lines)


def _format_recall(anchors: Mapping[str, Any]) -> list[str]:
    """Lay out which share of each class's objects of each size has an anchor, and of how many."""
    title = f"IoU >= {anchors['high']:g}"
    width = max(map(len, [*anchors["classes"], title]))
    lines = [f"  {title:{width}}" + "".join(f"{size:>17}" for size in anchors["sizes"])]
    for name, own in anchors["classes_by_size"].items():
        cells = (own.get(size) for size in anchors["sizes"])
        texts = (f"{e['matched']:.1%} of {e['objects']:,}" if e else "" for e in cells)
        lines.append(f"  {name:{width}}" + "".join(f"{text:>17}" for text in texts))
    return [line.rstrip() for line in lines]
