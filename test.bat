@echo off
rem Runs the tests, two at a time; arguments go to pytest: test.bat tests\unit -n 0
setlocal
cd /d "%~dp0"
call scripts\venv.bat requirements-dev.txt || exit /b 1

"%VENV_PYTHON%" -m pytest -n 2 --dist loadfile %*
exit /b %ERRORLEVEL%
