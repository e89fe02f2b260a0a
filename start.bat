@echo off
rem Start the service, or run another command of start_service.py: start.bat --help
setlocal
cd /d "%~dp0"
call scripts\venv.bat requirements.txt || exit /b 1

"%VENV_PYTHON%" start_service.py %*
exit /b %ERRORLEVEL%
