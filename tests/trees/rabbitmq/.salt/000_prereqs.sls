{% set cfg = opts.ms_project %}
include:
  - makina-states.services.queue.rabbitmq
prepreqs-{{cfg.name}}:
  pkg.installed:
    - pkgs:
      - python-pika
