# The settings of the application, written from cfg.
settings:
  file.managed:
    - name: {{ cfg.project_root }}/settings.json
    - source: salt://makina-projects/{{ cfg.name }}/files/settings.json
    - template: jinja
