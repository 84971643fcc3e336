"""What needs Node.js: a TypeScript client made of the document, and /docs/try in a browser.

`make test-all` runs it. The packages of package.json come from the npm registry.
"""
