{#- The virtualenv. It lies in project/, beside the files of the commit: it stays from one deployment to the next, and a
    roll back makes it what it was. git must not have it: see .gitignore. #}
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}

{{ cfg.name }}-venv:
  cmd.run:
    - name: {{ data.python }} -m venv {{ data.venv_options }} {{ data.venv }}
    - creates: {{ data.venv }}/bin/python

{#- pip runs where there are requirements, and others than those that were installed last. #}
{{ cfg.name }}-requirements:
  cmd.run:
    - name: >-
        {{ data.venv }}/bin/pip install --disable-pip-version-check -r {{ data.requirements }}
        && cp {{ data.requirements }} {{ data.venv }}/installed.txt
    - unless: "! grep -q '^[^#]' {{ data.requirements }} || cmp -s {{ data.requirements }} {{ data.venv }}/installed.txt"
    - require:
      - cmd: {{ cfg.name }}-venv
