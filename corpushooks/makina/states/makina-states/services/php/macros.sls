{#- A pool of php-fpm, and extensions. Their arguments are in docs/makina-states.md. -#}
{% macro fpm_pool(domain, doc_root='') %}
{% set pool = salt['mc_php.fpm_pool'](domain, doc_root or kwargs.get('www_dir', ''), **kwargs) %}
makina-php-pool-{{ pool.name }}-folders:
  file.folder:
    - names: {{ pool.folders | json }}
    - user: {{ pool.user }}
    - group: {{ pool.group }}
    - mode: "0770"
    - makedirs: true
    - require:
      - mc_proxy: makina-php-post-inst
    - require_in:
      - mc_proxy: makina-php-pre-restart
makina-php-pool-{{ pool.name }}:
  mc_service.configured:
    - name: {{ pool.name | json }}
    - service: {{ pool.service | json }}
    - files: {{ pool.files | json }}
    - links: {{ pool.links | json }}
    - require:
      - mc_proxy: makina-php-post-inst
    - watch_in:
      - mc_proxy: makina-php-pre-restart
{% endmacro %}

{% macro toggle_ext(ext, activation_status=True) %}
makina-php-{{ ext }}-{{ 'install' if activation_status else 'disable' }}:
  cmd.run:
    - name: {{ 'phpenmod' if activation_status else 'phpdismod' }} {{ ext }}
    - {{ 'unless' if activation_status else 'onlyif' }}: phpquery -q -v {{ salt['mc_php.settings']().php_ver }} -s fpm -m {{ ext }}
    - require:
      - mc_proxy: makina-php-pre-conf
    - watch_in:
      - mc_proxy: makina-php-post-conf
{% endmacro %}
