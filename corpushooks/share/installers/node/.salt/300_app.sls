{#- The program: on a server a systemd unit runs it as the project's user. #}
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
{% set server = grains.uid == 0 and cfg.projects_dir == '/srv/projects' %}

{% if server %}
{{ cfg.name }}-unit:
  file.delivered:
    - name: /etc/systemd/system/{{ cfg.name }}.service
    - service: {{ cfg.name }}
    - source: salt://makina-projects/{{ cfg.name }}/files/app.service
    - template: jinja

{{ cfg.name }}-runs:
  cmd.run:
    - name: systemctl daemon-reload && systemctl enable {{ cfg.name }} && systemctl restart {{ cfg.name }}
    - require:
      - file: {{ cfg.name }}-unit

{#- The check at the end of the deployment: this unit has the port, and it answers. #}
{{ cfg.name }}-listens:
  mc_check.listening:
    - name: {{ cfg.name }}
    - port: {{ data.app_port }}
    - require:
      - cmd: {{ cfg.name }}-runs

{{ cfg.name }}-answers:
  cmd.run:
    - name: >-
        {{ data.node }} -e 'require("http").get("http://127.0.0.1:{{ data.app_port }}/", a => process.exit(a.statusCode < 500 ? 0 : 1)).on("error", () => process.exit(1))'
    - retry:
        attempts: 10
        interval: 1
    - require:
      - mc_check: {{ cfg.name }}-listens
{% else %}
{{ cfg.name }}-runs:
  test.show_notification:
    - text: "no server: nothing is started. By hand: cd {{ cfg.project_root }} && {{ data.command }}"
{% endif %}
