"""The report as one HTML file: tables, notes and plots inside it, nothing loaded from anywhere."""

from compressbench.reporting.document import Document

_TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>compressbench: comparison</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
  caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
  th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; white-space: normal; }
  figure { margin: 1rem 0; background: #fff; padding: 0.5rem; border-radius: 6px; overflow-x: auto; }
</style>
</head>
<body>
{%- macro draw(table) %}
<div class="wide"><table>
<caption>{{ table.title }}</caption>
<thead><tr>{% for column in table.columns %}<th scope="col">{{ column }}</th>{% endfor %}</tr></thead>
<tbody>
{%- for row in table.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table></div>
{%- endmacro %}
{%- macro listing(notes) %}
{%- if notes %}<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
{%- endmacro %}
<h1>Comparison</h1>
{{ draw(document.summary) }}
{{ listing(document.notes) }}
{%- for plot in document.plots.values() %}
<figure>{{ plot | safe }}</figure>
{%- endfor %}
{%- for block in document.blocks %}
<h2>{{ block.task }}</h2>
{%- for table in block.tables %}
{{ draw(table) }}
{%- endfor %}
{{ listing(block.notes) }}
{%- if document.curves.get(block.task) %}
<details><summary>Training curves</summary>
{%- for plot in document.curves[block.task] %}
<figure>{{ plot.drawing | safe }}</figure>
{%- endfor %}
</details>
{%- endif %}
{%- endfor %}
{%- if document.references %}
<h2>Published figures</h2>
{%- for table in document.references %}
{{ draw(table) }}
{%- endfor %}
{{ listing(document.reference_notes) }}
{%- endif %}
</body>
</html>
"""


def document_html(document: Document) -> str:
    """The whole report; every text from records is escaped."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)
    return template.render(document=document)
