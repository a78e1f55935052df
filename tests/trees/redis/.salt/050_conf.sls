{% set cfg = opts.ms_project %}
include:
  - makina-states.services.db.redis.hooks
{{cfg.name}}-memory:
  cmd.run:
    - name: redis-cli -p {{cfg.data.redis_port}} config set maxmemory {{cfg.data.maxmemory}}
    - watch:
      - mc_proxy: redis-post-restart
