# SPDX-License-Identifier: MIT
"""The figures of a run of scripts/bench: printed as a table, kept for JSON and for one HTML page."""
import html
import json
import os

figures = []  # of dict, in the order in which they were measured
_section = {'title': '', 'reference': ''}


def header(title, reference):
    _section.update(title=title, reference=reference)
    print(f'\n{title:<44}{"blkco":>12}{reference:>12}{"ratio":>8}  goal', flush=True)


def is_met(value, goal):
    sign, bound = goal.split()
    return value >= float(bound) if sign == '>=' else value <= float(bound)


def line(what, ours, reference, goal=None, runs=None):
    """goal: '>= 0.95' or '<= 1.25', of the ratio ours / reference. runs: each run's figures."""
    ratio = ours / reference if reference else float('inf')
    text = f'{what:<44}{ours:>12,.1f}{reference:>12,.1f}{ratio:>8.2f}'
    if goal:
        text += f'  {goal} {"met" if is_met(ratio, goal) else "MISSED"}'
    print(text, flush=True)
    figures.append({**_section, 'what': what, 'ours': ours, 'compared': reference,
                    'ratio': ratio, 'goal': goal, 'met': not goal or is_met(ratio, goal),
                    'runs': runs or []})


def bound(what, ours, goal):
    """A figure that is compared with nothing but its goal."""
    met = is_met(ours, goal)
    print(f'{what:<44}{ours:>12,.1f}{"":>20}  {goal} {"met" if met else "MISSED"}', flush=True)
    figures.append({**_section, 'what': what, 'ours': ours, 'compared': None, 'ratio': None,
                    'goal': goal, 'met': met, 'runs': []})


def missed():
    return [f for f in figures if not f['met']]


def _bars(figure):
    """Two bars, the dots of single runs on them, and a mark where the goal is."""
    ours, compared = figure['ours'], figure['compared'] or figure['ours']
    runs = figure['runs'] or [[], []]
    top = max([ours, compared, *runs[0], *runs[1]]) or 1
    width = 420
    rows = []
    for y, value, color, dots in ((2, ours, '#2a7', runs[0]), (18, compared, '#999', runs[1])):
        if y == 18 and figure['compared'] is None:
            continue
        rows.append(f'<rect x="0" y="{y}" width="{value / top * width:.1f}" height="12" '
                    f'fill="{color}"/>')
        rows += [f'<circle cx="{dot / top * width:.1f}" cy="{y + 6}" r="2.5" fill="#000"/>'
                 for dot in dots]
    if figure['goal'] and figure['compared'] is not None:
        x = min(float(figure['goal'].split()[1]) * compared / top, 1) * width
        rows.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="16" stroke="#c00" '
                    'stroke-width="2"/>')
    return f'<svg width="{width + 4}" height="32">{"".join(rows)}</svg>'


def _row(figure):
    def number(value):
        return '' if value is None else f'{value:,.2f}'

    goal = figure['goal'] or ''
    mark = '' if not goal else 'met' if figure['met'] else '<b>missed</b>'
    return (f'<tr><td>{html.escape(figure["what"])}<td>{number(figure["ours"])}'
            f'<td>{number(figure["compared"])}<td>{number(figure["ratio"])}'
            f'<td>{html.escape(goal)} {mark}<td>{_bars(figure)}')


def _page(machine):
    parts = ['<!DOCTYPE html><meta charset="utf-8"><title>blkco: benchmark</title><style>'
             'body{font:14px sans-serif;margin:2em}td,th{padding:2px 10px;text-align:right}'
             'td:first-child,th:first-child{text-align:left}b{color:#c00}</style>'
             f'<h1>blkco: benchmark</h1><pre>{html.escape(machine)}</pre>'
             '<p>Green: blkco; grey: what it is compared with; dots: single runs; red: the goal.']
    title = None
    for figure in figures:
        if figure['title'] != title:
            title = figure['title']
            parts.append(f'{"</table>" if len(parts) > 1 else ""}<h2>{html.escape(title)}</h2>'
                         f'<table><tr><th><th>blkco<th>{html.escape(figure["reference"])}'
                         '<th>ratio<th>goal<th>')
        parts.append(_row(figure))
    return '\n'.join(parts) + '</table>\n'


def write(directory, machine):
    """bench.json and bench.html; says where they are, and which goals are missed."""
    os.makedirs(directory, exist_ok=True)
    with open(f'{directory}/bench.json', 'w', encoding='utf-8') as f:
        json.dump({'machine': machine.splitlines(), 'figures': figures}, f, indent=1)
    with open(f'{directory}/bench.html', 'w', encoding='utf-8') as f:
        f.write(_page(machine))
    print(f'\nwritten: {directory}/bench.json, {directory}/bench.html')
    for figure in missed():
        of = 'ratio ' if figure['ratio'] is not None else ''
        value = figure['ours'] if figure['ratio'] is None else figure['ratio']
        print(f"MISSED: {figure['title']}: {figure['what']}: {of}{value:.2f}, goal {figure['goal']}")
