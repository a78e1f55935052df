{#- The application itself. Its files are in project/ already: they are those of the commit. #}
{% set cfg = opts.ms_project %}

{#- file.delivered is a file.managed for folders that the application can write: it follows no link from there. #}
{{ cfg.name }}-config:
  file.delivered:
    - name: {{ cfg.data.config }}
    - source: salt://makina-projects/{{ cfg.name }}/files/app.conf
    - template: jinja
    - mode: '0640'
    - makedirs: true

{#- A deployment is only as good as its last check: replace this one by a question to your application. #}
{{ cfg.name }}-check:
  cmd.run:
    - name: grep -q {{ cfg.name }} {{ cfg.data.config }}
    - require:
      - file: {{ cfg.name }}-config
