{% set cfg = opts.ms_project %}
prepreqs-{{cfg.name}}:
  pkg.installed:
    - pkgs:
      - php5-cli
      - php5-gd
      - php5-mysql
      - php-pear
      - mysql-client
      - unzip
      - php5-gd
{{cfg.name}}-dirs:
  file.directory:
    - makedirs: true
    - user: {{cfg.user}}
    - group: {{cfg.group}}
    - mode: 770
    - names:
      - {{cfg.data.files}}
{{cfg.name}}-files-link:
  file.symlink:
    - name: {{cfg.data.doc_root}}/sites/default/files
    - target: {{cfg.data.files}}
    - makedirs: true
    - watch:
      - file: {{cfg.name}}-dirs
