{#- Prerequisites of the host: packages, users of other services, folders.

    The files directly in .salt run one after the other, in the order of their names. #}
{% set cfg = opts.ms_project %}
{% set server = grains.uid == 0 and cfg.projects_dir == '/srv/projects' %}

{#- Packages are installed on a server only; a host in a folder has no rights to. #}
{% if cfg.data.packages and server %}
{{ cfg.name }}-packages:
  pkg.installed:
    - pkgs: {{ cfg.data.packages | tojson }}
{% elif cfg.data.packages %}
{{ cfg.name }}-packages:
  test.show_notification:
    - text: "no server: not installed: {{ cfg.data.packages | join(' ') }}"
{% endif %}

{#- Persistent data goes to data/: it is never archived, and never rolled back. #}
{{ cfg.name }}-data:
  file.directory:
    - name: {{ cfg.data_root }}
    - makedirs: true
