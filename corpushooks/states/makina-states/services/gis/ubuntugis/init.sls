include:
  - makina-states.services.gis.ubuntugis.hooks
