@echo off
rem Run workflows and watch them in the terminal: wf.bat --help
setlocal
rem File names in the arguments are relative to the caller's directory.
pushd "%~dp0"
call scripts\venv.bat requirements.txt || (popd & exit /b 1)
for %%P in ("%VENV_PYTHON%") do set "VENV_PYTHON=%%~fP"
popd

"%VENV_PYTHON%" "%~dp0wf.py" %*
exit /b %ERRORLEVEL%
