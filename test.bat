@echo off
rem Run the tests in four processes; arguments are passed to pytest: test.bat tests\unit -n 0
setlocal
cd /d "%~dp0"
call scripts\venv.bat requirements-dev.txt || exit /b 1

"%VENV_PYTHON%" -m pytest -n 4 --dist loadfile %*
exit /b %ERRORLEVEL%
