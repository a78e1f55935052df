{% set cfg = opts.ms_project %}
include:
  - makina-states.services.db.redis
prepreqs-{{cfg.name}}:
  pkg.installed:
    - pkgs: [redis-tools, python-redis, redis-tools]
