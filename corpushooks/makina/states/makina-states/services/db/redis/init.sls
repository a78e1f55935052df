{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
include:
  - makina-states.services.db.redis.hooks
{{ packages('makina-states.services.db.redis', 'redis-server'.split(), 'redis-pre-install', 'redis-post-install') }}
{{ service({'name': salt['mc_utils.get']('makina-states.services.db.redis.service') or 'redis-server'}, (
    ('makina-redis-restart-service', true, 'redis-pre-hardrestart', 'redis-post-hardrestart'),
    ('makina-redis-service', true, 'redis-pre-restart', 'redis-post-restart'),)) }}
