{% from "makina-states/_macros/packages.jinja" import packages with context %}
deadsnakes-ppa:
  pkgrepo.unneeded: []
{{ packages('makina-states.localsettings.python', 'python3 python3-dev python3-venv virtualenv'.split(),
            id='deadsnakes') }}
