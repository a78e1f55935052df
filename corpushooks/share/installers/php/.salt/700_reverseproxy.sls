{#- nginx in front. Elsewhere than on a server the file is only written to data/, for reading. #}
{% set cfg = opts.ms_project %}
{% set server = grains.uid == 0 and cfg.projects_dir == '/srv/projects' %}

{% if server %}
{#- If nginx rejects the file, the old one is restored, so that it can still start; a rollback undoes all of this. #}
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

{#- The check at the end of the deployment: only this site answers with this text. #}
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
