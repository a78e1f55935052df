{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
prepreqs-{{cfg.name}}:
  pkg.installed:
    - pkgs:
      - autoconf
      - automake
      - build-essential
      - gettext
      - git
      - libbz2-dev
      - libcurl4-openssl-dev
      - libssl-dev
      - libtool
      - libxml2-dev
      - libxslt1-dev
      - m4
      - pkg-config
      - python-dev
      - python-virtualenv
      - python-imaging
      - tcl8.6
      - zlib1g-dev
      - git

{{cfg.name}}-dirs:
  file.directory:
    - makedirs: true
    - user: {{cfg.user}}
    - group: {{cfg.group}}
    - watch:
      - pkg: prepreqs-{{cfg.name}}
    - names:
      - {{data.static}}
      - {{data.media}}
      - {{data.doc_root}}
