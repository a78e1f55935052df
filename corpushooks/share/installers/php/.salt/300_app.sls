{#- The site: its files are in the commit. On a server PHP runs as the project's user, in its own pool. #}
{% set cfg = opts.ms_project %}
{% set server = grains.uid == 0 and cfg.projects_dir == '/srv/projects' %}

{{ cfg.name }}-doc-root:
  file.exists:
    - name: {{ cfg.data.doc_root }}/index.php

{#- The version of PHP that 000_prereqs installed is known by now: a file is rendered after the one before has run. #}
{% set found = salt['file.find']('/etc/php', type='d', name='fpm', maxdepth=2) if server else [] %}
{% if found %}
{% set fpm = found | sort | last %}
{% set version = fpm.split('/')[-2] %}
{#- If PHP-FPM rejects the pool, the old one is restored; a rollback undoes it, too. #}
{{ cfg.name }}-pool:
  mc_service.configured:
    - service: php{{ version }}-fpm
    - files:
      - path: {{ fpm }}/pool.d/{{ cfg.name }}.conf
        source: salt://makina-projects/{{ cfg.name }}/files/pool.conf

{{ cfg.name }}-pool-runs:
  mc_service.running:
    - name: php{{ version }}-fpm
    - tested_by: [php-fpm{{ version }}, -t]
    - watch:
      - mc_service: {{ cfg.name }}-pool
{% elif server %}
{{ cfg.name }}-pool:
  test.fail_without_changes:
    - name: "there is no /etc/php/VERSION/fpm: is php-fpm among data.packages?"
{% else %}
{{ cfg.name }}-pool:
  test.show_notification:
    - text: "no server: PHP is not started. By hand: php -S 127.0.0.1:{{ cfg.data.port }} -t {{ cfg.data.doc_root }}"
{% endif %}
