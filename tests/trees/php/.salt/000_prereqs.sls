{% set cfg = opts.ms_project %}
prepreqs-{{cfg.name}}:
  pkg.installed:
    - pkgs:
      - php5-cli
      - php5-curl
      - php5-gd
      - php5-mcrypt
      - apache2-utils
      - curl
