{#- The modules. node_modules lies in project/, beside the files of the commit, and stays from one deployment to the
    next. git must not have it: see .gitignore. #}
{% set cfg = opts.ms_project %}
{% set stamp = cfg.project_root ~ '/node_modules/.installed.json' %}

{% if salt['cmd.which']('npm') %}
{#- npm runs where package.json is another than the one that was installed last. #}
{{ cfg.name }}-modules:
  cmd.run:
    - name: npm install --omit=dev --no-audit --no-fund && mkdir -p node_modules && cp package.json {{ stamp }}
    - cwd: {{ cfg.project_root }}
    - unless: cmp -s {{ cfg.project_root }}/package.json {{ stamp }}
{% else %}
{{ cfg.name }}-modules:
  test.show_notification:
    - text: "there is no npm: no modules are installed"
{% endif %}
