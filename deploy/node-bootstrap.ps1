# Sets up the Nebula Command agent on this machine: downloads it from your Jarvis, installs it into
# a folder of its own, joins, and starts it when you sign in. Filled in by `nodes_bootstrap`.
& {
    $ErrorActionPreference = 'Stop'
    $url = '@JARVIS_URL@'
    $token = '@JOIN_TOKEN@'
    $name = '@NODE_NAME@'
    $port = '@NODE_PORT@'
    $sha256 = '@AGENT_SHA256@'

    function Assert-Success([string]$what) { if ($LASTEXITCODE -ne 0) { throw "$what failed" } }

    function Test-Python([string]$version) {
        # Windows PowerShell takes a redirected word on stderr for an error, and would stop here.
        $ErrorActionPreference = 'Continue'
        & py "-$version" -c 'import venv' 2>$null | Out-Null
        $LASTEXITCODE -eq 0
    }

    $nodeHome = if ($env:NEBULA_NODE_HOME) { $env:NEBULA_NODE_HOME } else { Join-Path $env:LOCALAPPDATA 'nebula-node' }
    $python = $null
    foreach ($version in '3.13', '3.12', '3.11') {
        if (Get-Command py -ErrorAction SilentlyContinue) {
            if (Test-Python $version) { $python = @('py', "-$version"); break }
        }
    }
    if (-not $python) { throw 'Python 3.11 or newer is needed: winget install Python.Python.3.12' }

    New-Item -ItemType Directory -Force -Path $nodeHome | Out-Null
    Set-Location $nodeHome
    Write-Host "Downloading the agent from $url"
    Invoke-WebRequest -UseBasicParsing -Uri "$url/api/nodes/agent.zip" -OutFile agent.zip
    if ((Get-FileHash agent.zip -Algorithm SHA256).Hash -ne $sha256) {
        throw 'The agent is not the one this script was made for; ask Jarvis for a new script.'
    }
    Remove-Item -Recurse -Force agent -ErrorAction SilentlyContinue
    Expand-Archive agent.zip -DestinationPath agent

    Write-Host 'Installing what it needs'
    & $python[0] $python[1] -m venv venv
    Assert-Success 'Making the virtual environment'
    $venv = Join-Path $nodeHome 'venv\Scripts\python.exe'
    & $venv -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r agent\node\requirements.lock
    Assert-Success 'Installing packages'

    Set-Location agent
    $more = if ($name) { @('--name', $name) } else { @() }
    $token | & $venv -m node join $url - --port $port --home $nodeHome --force @more
    Assert-Success 'Joining'
    & $venv -m node autostart --home $nodeHome
    Assert-Success 'Starting the agent'
}
