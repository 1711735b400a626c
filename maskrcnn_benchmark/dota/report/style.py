"""The frame and the looks of a report's page, for `string.Template`.

The policy in the head forbids scripts and anything from elsewhere, so that the page shows what it
holds and nothing more.
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1320px; padding: 12px 14px 60px; background: #fff;
 color: #1c2430; font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.4rem; margin: 8px 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 8px; padding-top: 14px; border-top: 2px solid #d6dce5; }
h3 { font-size: 1rem; margin: 18px 0 4px; overflow-wrap: anywhere; }
section { margin-top: 30px; }
p { margin: 6px 0; max-width: 75ch; overflow-wrap: anywhere; }
.score { font-size: 2rem; font-weight: 650; }
nav { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 12px; }
nav a { padding: 7px 12px; border-radius: 16px; background: #edf1f7; color: #24487f;
 text-decoration: none; font-size: .9rem; }
.frame { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 9px; text-align: right; white-space: nowrap;
 border-bottom: 1px solid #e3e8ef; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
th[scope=row] { font-weight: 500; }
.foot th, .foot td { font-weight: 700; border-top: 2px solid #9aa7b8; }
.matrix td { min-width: 42px; text-align: center; border: 1px solid #eef1f5; }
.matrix th[scope=col] { vertical-align: bottom; text-align: left; padding: 4px 2px; }
.matrix th[scope=col] span { writing-mode: vertical-rl; transform: rotate(180deg); }
.bars { display: grid; grid-template-columns: minmax(90px, max-content) 1fr; gap: 6px 12px;
 margin: 10px 0; align-items: center; }
.bars dt { font-size: .9rem; max-width: 36vw; }
.bars dd { margin: 0; font-size: .82rem; color: #45505f; }
.bar { display: block; height: 13px; min-width: 1px; border-radius: 2px; }
.curves { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(148px, 1fr)); }
figure { margin: 0; display: flex; flex-direction: column; justify-content: space-between; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; max-width: 260px; height: auto; }
svg text { font-size: 8px; fill: #5b6675; }
svg .grid { stroke: #dde3eb; stroke-width: .7; fill: none; }
svg polyline { stroke: #3566b0; stroke-width: 1.6; fill: none; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 14px; list-style: none; padding: 0;
 font-size: .85rem; }
.legend i { display: inline-block; width: 12px; height: 12px; margin-right: 5px;
 border: 1px solid #8886; }
.pair { display: grid; gap: 8px;
 grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
img { display: block; width: 100%; height: auto; max-width: 640px; background: #e9edf2; }
details { margin: 8px 0; }
summary { cursor: pointer; padding: 6px 0; color: #24487f; }
.meanings dt { font-weight: 650; margin-top: 8px; }
.meanings dd { margin: 0; max-width: 75ch; }
</style>
</head>
<body>
<h1>$title</h1>
<p><span class="score">$score</span> mAP</p>
<p>$facts</p>
<nav>$links</nav>
$sections
</body>
</html>
"""
