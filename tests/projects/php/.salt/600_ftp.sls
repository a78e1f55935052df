{% set cfg = opts.ms_project %}
include:
  - makina-states.services.ftp.pureftpd
{% set apacheSettings = salt['mc_apache.settings']() %}
{% set data = cfg.data %}
{{cfg.name}}-ftp:
  file.directory:
    - names:
      - {{data.ftp_root}}
    - user: {{apacheSettings.httpd_user}}
    - group: {{apacheSettings.httpd_user}}
    - makedirs: true
{% for userdef in data.get('users', []) %}
{% for user, udata in userdef.items() %}
{{cfg.name}}-ftp-user-{{user}}:
  user.present:
    - shell: /bin/ftponly
    - name: {{user}}
    - password: "{{salt['mc_utils.unix_crypt'](udata.password)}}"
    - optional_groups: [{{salt['mc_usergroup.settings']().group}}, {{apacheSettings.httpd_user}}]
    - home: {{data.ftp_root}}
    - watch_in:
      - mc_proxy: ftpd-pre-configuration-hook
{% endfor %}
{% endfor %}
/etc/pure-ftpd/conf/PassivePortRange:
  file.managed:
    - makedirs: true
    - contents: {{data.ftp_port_range}}
    - watch_in:
      - mc_proxy: ftpd-post-configuration-hook
