{#- nginx in front. Outside of a server the file is only written, into data/, where one can look at it. #}
{% set cfg = opts.ms_project %}
{% set server = grains.uid == 0 and cfg.projects_dir == '/srv/projects' %}

{% if server %}
{#- What nginx does not take is put back, so that it can still start; a roll back takes back all of this. #}
{{ cfg.name }}-vhost:
  mc_service.configured:
    - service: nginx
    - files:
      - path: /etc/nginx/sites-available/{{ cfg.name }}
        source: salt://makina-projects/{{ cfg.name }}/files/nginx.conf
    - links:
        /etc/nginx/sites-enabled/{{ cfg.name }}: /etc/nginx/sites-available/{{ cfg.name }}

{{ cfg.name }}-vhost-check:
  mc_service.running:
    - name: nginx
    - tested_by: [nginx, -t]
    - started_by: [nginx]
    - reloaded_by: [nginx, -s, reload]
    - pid_file: /run/nginx.pid
    - watch:
      - mc_service: {{ cfg.name }}-vhost

{#- A deployment is only as good as its last check: only this site answers with this text. #}
{{ cfg.name }}-vhost-answers:
  mc_check.answers:
    - name: /.corpushooks/{{ cfg.name }}
    - host: {{ cfg.data.domain | tojson }}
    - port: {{ cfg.data.port }}
    - text: this is {{ cfg.name }}
    - require:
      - mc_service: {{ cfg.name }}-vhost-check
{% else %}
{{ cfg.name }}-vhost:
  file.delivered:
    - name: {{ cfg.data_root }}/nginx.conf
    - source: salt://makina-projects/{{ cfg.name }}/files/nginx.conf
    - template: jinja
    - makedirs: true
{% endif %}
