{#- The modules. node_modules is in project/, next to the files of the commit, and stays from one deployment to the
    next. git must not have it: see .gitignore.

    On a server npm runs files that the application can write, so it runs as the project's user and never as root. #}
{% set cfg = opts.ms_project %}
{% set server = grains.uid == 0 and cfg.projects_dir == '/srv/projects' %}
{% set stamp = cfg.project_root ~ '/node_modules/.installed.json' %}

{% set package = cfg.project_root ~ '/package.json' %}
{% set about = salt['mc_files.read'](package).decode() | load_json if salt['mc_files.exists'](package) else {} %}
{% set wanted = about.get('dependencies') or about.get('optionalDependencies') %}

{% if not wanted %}
{{ cfg.name }}-modules:
  test.show_notification:
    - text: "package.json has no dependencies: npm is not needed"
{% elif salt['cmd.which']('npm') %}
{#- npm runs only if package.json has changed since the last install. #}
{{ cfg.name }}-modules:
  cmd.run:
    - name: >-
        npm install --omit=dev --no-audit --no-fund --cache {{ cfg.data_root }}/.npm
        && mkdir -p node_modules && cp package.json {{ stamp }}
    - cwd: {{ cfg.project_root }}
    {{ '- runas: ' ~ cfg.user if server else '' }}
    - unless: cmp -s {{ cfg.project_root }}/package.json {{ stamp }}
{% else %}
{{ cfg.name }}-modules:
  test.fail_without_changes:
    - name: "package.json has dependencies, and npm is not installed: is npm among data.packages?"
{% endif %}
