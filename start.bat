@echo off
rem Starts the service (start.bat) or shows what it does (start.bat demo); see README.md.
setlocal
cd /d "%~dp0"
call scripts\venv.bat requirements.txt || exit /b 1

if /i "%~1"=="demo" goto demo
"%VENV_PYTHON%" start_service.py %*
exit /b %ERRORLEVEL%

:demo
rem shift leaves %* as it is: the rest is what follows the first word.
set "REST="
for /f "tokens=1,*" %%A in ("%*") do set REST=%%B
"%VENV_PYTHON%" -m examples.demo %REST%
exit /b %ERRORLEVEL%
