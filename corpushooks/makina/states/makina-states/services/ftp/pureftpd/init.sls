{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
include:
  - makina-states.services.ftp.pureftpd.hooks
{{ packages('makina-states.services.ftp.pureftpd', 'pure-ftpd'.split(), 'ftpd-pre-installation-hook', 'ftpd-post-installation-hook') }}
{{ service({'name': salt['mc_utils.get']('makina-states.services.ftp.pureftpd.service') or 'pure-ftpd'}, (
    ('makina-pureftpd-service', true, 'ftpd-pre-restart-hook', 'ftpd-post-restart-hook'),)) }}
# the shell of FTP-only accounts
makina-ftponly:
  file.managed:
    - name: /bin/ftponly
    - mode: "0755"
    - contents: |
        #!/bin/sh
        echo "This account can only use FTP." >&2
        exit 1
    - require:
      - mc_proxy: ftpd-post-installation-hook
    - require_in:
      - mc_proxy: ftpd-pre-configuration-hook
makina-ftponly-is-a-shell:
  file.append:
    - name: /etc/shells
    - text: /bin/ftponly
    - require:
      - file: makina-ftponly
    - require_in:
      - mc_proxy: ftpd-pre-configuration-hook
