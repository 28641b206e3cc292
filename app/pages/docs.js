// Opens the API's own text in Swagger UI, with operations ready to try.
SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#docs',
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  docExpansion: 'list',
  validatorUrl: null,
})
