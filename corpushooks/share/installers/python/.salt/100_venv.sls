{#- The virtualenv. It is in project/, next to the files of the commit: it stays from one deployment to the next, and a
    roll back makes it what it was. git must not have it: see .gitignore.

    On a server the application can write in it, so it is made, and run, as the user of the project and never as root. #}
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
{% set server = grains.uid == 0 and cfg.projects_dir == '/srv/projects' %}
{% set runas = '- runas: ' ~ cfg.user if server else '' %}

{{ cfg.name }}-venv:
  cmd.run:
    - name: {{ data.python }} -m venv {{ data.venv_options }} {{ data.venv }}
    - creates: {{ data.venv }}/bin/python
    {{ runas }}

{#- pip runs only if there are requirements, and they have changed since the last install. #}
{{ cfg.name }}-requirements:
  cmd.run:
    - name: >-
        {{ data.venv }}/bin/pip install --disable-pip-version-check -r {{ data.requirements }}
        && cp {{ data.requirements }} {{ data.venv }}/installed.txt
    - unless: "! grep -q '^[^#]' {{ data.requirements }} || cmp -s {{ data.requirements }} {{ data.venv }}/installed.txt"
    {{ runas }}
    - require:
      - cmd: {{ cfg.name }}-venv
