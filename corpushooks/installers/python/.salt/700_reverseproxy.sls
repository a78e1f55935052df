{#- nginx in front. Outside of a server the file is only written, into data/, where one can look at it. #}
{% set cfg = opts.ms_project %}
{% set server = grains.uid == 0 and cfg.projects_dir == '/srv/projects' %}

{{ cfg.name }}-vhost:
  file.delivered:
    - name: {{ '/etc/nginx/sites-available/' ~ cfg.name if server else cfg.data_root ~ '/nginx.conf' }}
    - source: salt://makina-projects/{{ cfg.name }}/files/nginx.conf
    - template: jinja
    - makedirs: true

{% if server %}
{{ cfg.name }}-vhost-enabled:
  file.symlink:
    - name: /etc/nginx/sites-enabled/{{ cfg.name }}
    - target: /etc/nginx/sites-available/{{ cfg.name }}
    - require:
      - file: {{ cfg.name }}-vhost

{#- A file that nginx does not take is taken out again, so that nginx can still start. #}
{{ cfg.name }}-vhost-check:
  cmd.run:
    - name: nginx -t || { rm -f /etc/nginx/sites-enabled/{{ cfg.name }}; exit 1; }
    - require:
      - file: {{ cfg.name }}-vhost-enabled
  service.running:
    - name: nginx
    - enable: true
    - reload: true
    - require:
      - cmd: {{ cfg.name }}-vhost-check
    - watch:
      - file: {{ cfg.name }}-vhost
      - file: {{ cfg.name }}-vhost-enabled
{% endif %}
