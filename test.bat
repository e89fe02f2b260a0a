@echo off
rem Runs the tests; arguments go to pytest: test.bat tests\unit -n 2
setlocal
cd /d "%~dp0"
call scripts\venv.bat requirements-dev.txt || exit /b 1

"%VENV_PYTHON%" -m pytest %*
exit /b %ERRORLEVEL%
