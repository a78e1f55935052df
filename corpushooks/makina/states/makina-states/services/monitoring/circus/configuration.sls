include:
  - makina-states.services.monitoring.circus.hooks
