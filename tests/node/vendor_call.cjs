// Signs and sends one call with npm's package of the vendor, and prints what was answered.
// Its argument is {host, accessKey, secretKey, path, body} as JSON.
const core = require('jdcloud-sdk-js')

const asked = JSON.parse(process.argv[2])

class Search extends core.Service {
  constructor () {
    super('search', {
      credentials: new core.Credentials({
        accessKeyId: asked.accessKey,
        secretAccessKey: asked.secretKey
      }),
      endpoint: { protocol: 'http', host: asked.host },
      regionId: 'cn-north-1',
      logger: () => {}
    })
  }
}

const json = ['application/json']
core.config.logger = () => {}
new Search()
  .makeRequest(asked.path, 'POST', {}, {}, {}, {}, asked.body, json, json, null)
  .catch(refused => refused)
  .then(({ responseObj, ...answer }) => console.log(JSON.stringify(answer)))
