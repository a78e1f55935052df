{#- The application itself. The files of the commit are in project/ already. #}
{% set cfg = opts.ms_project %}

{#- file.delivered is a file.managed for folders that the application can write: it follows no link in them. #}
{{ cfg.name }}-config:
  file.delivered:
    - name: {{ cfg.data.config }}
    - source: salt://makina-projects/{{ cfg.name }}/files/app.conf
    - template: jinja
    - mode: '0640'
    - makedirs: true

{#- The check at the end of the deployment: replace it by one of your application. #}
{{ cfg.name }}-check:
  cmd.run:
    - name: grep -q {{ cfg.name }} {{ cfg.data.config }}
    - require:
      - file: {{ cfg.name }}-config
