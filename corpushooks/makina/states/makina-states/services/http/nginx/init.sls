{% from "makina-states/_macros/packages.jinja" import packages with context %}
{% set nginx = salt['mc_nginx.settings']() %}
{% import "makina-states/services/http/nginx/macros.sls" as macros with context %}
{% set virtualhost = macros.virtualhost %}
include:
  - makina-states.services.http.nginx.hooks
  - makina-states.services.http.nginx.services
{{ packages('makina-states.services.http.nginx', [nginx.package] if nginx.package else [], 'nginx-pre-install-hook',
            'nginx-post-install-hook') }}
{% set source = 'salt://makina-states/files/etc/nginx/' %}
makina-nginx-configuration:
  mc_service.configured:
    - service: {{ nginx.service }}
    - files:
      - {path: {{ nginx.basedir }}/conf.d/corpushooks.conf, source: {{ source }}corpushooks.conf}
{% for name, file in {
    'fastcgi_fpm_drupal': 'fastcgi_fpm_drupal', 'fastcgi_fpm_symfony': 'fastcgi_fpm_drupal', 'map_cache': 'empty',
    'microcache_fcgi': 'empty', 'php_fpm_status_vhost': 'empty', 'status_vhost': 'empty'}.items() %}
      - {path: {{ nginx.basedir }}/{{ name }}.conf, source: {{ source }}{{ file }}.conf}
{% endfor %}
    - require:
      - mc_proxy: nginx-pre-conf-hook
    - watch_in:
      - mc_proxy: nginx-post-conf-hook
