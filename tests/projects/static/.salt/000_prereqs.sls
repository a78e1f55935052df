{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
{{cfg.name}}-dirs:
  file.directory:
    - makedirs: true
    - names:
      - {{cfg.data_root}}/media
{% for userrow in data.http_users %}
{% for user, passwd in userrow.items() %}
{{cfg.name}}-{{user}}-htaccess:
  webutil.user_exists:
    - name: {{user}}
    - password: {{passwd}}
    - htpasswd_file: {{data.htaccess}}
    - options: m
    - force: true
    - watch:
      - file: {{cfg.name}}-dirs
{% endfor %}
{% endfor %}
