{% set cfg = opts.ms_project %}
{% set pkgs = salt['mc_pkgs.settings']() %}
prepreqs-{{cfg.name}}:
  pkg.installed:
    - pkgs:
      - build-essential
      - libjpeg62-dev
      - libpng12-dev
      - libreadline5-dev
      - libxml2-dev
      - libxslt1-dev
      - python2.7-dev
      - python-libxml2
      - wv
      {% if pkgs.dist in ('precise', 'trusty') %}
      - python-software-properties
      {% endif %}
