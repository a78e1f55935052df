{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
include:
  - makina-states.services.cache.memcached.hooks
{{ packages('makina-states.services.cache.memcached', 'memcached'.split(), 'memcached-pre-install', 'memcached-post-install') }}
{{ service({'name': salt['mc_utils.get']('makina-states.services.cache.memcached.service') or 'memcached'}, (
    ('makina-memcached-service', true, 'memcached-pre-restart', 'memcached-post-restart'),)) }}
