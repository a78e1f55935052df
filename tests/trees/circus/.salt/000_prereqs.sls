{% set cfg = opts.ms_project %}
prepreqs-{{cfg.name}}:
  pkg.installed:
    - pkgs:
      - python3
      - supervisor
